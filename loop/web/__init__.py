"""What every server of ours goes by: whom it answers, and the port that it listens on."""
