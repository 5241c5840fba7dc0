"""Labels for the images that nobody labelled, with a promise of how many are wrong."""
