"""The method: numbers in, numbers out, and the steps that drive a labelling project."""
