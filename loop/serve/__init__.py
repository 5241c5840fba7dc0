"""What goes on without a person at the terminal: the loop that turns by itself, and the service
that Label Studio asks."""
