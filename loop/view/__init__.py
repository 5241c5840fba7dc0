"""The pages of ``coreloop view``: for a person at this machine."""
