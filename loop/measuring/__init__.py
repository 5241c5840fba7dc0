"""What a random sample of the pool says: how good the model is, and whether the picks beat it."""
