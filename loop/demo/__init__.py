"""The demo: handwritten digits, and a Label Studio server of its own."""
