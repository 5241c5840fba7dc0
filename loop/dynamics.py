"""Training dynamics, streamed: what each training image did while a model learned it."""
