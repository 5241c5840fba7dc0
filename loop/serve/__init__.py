"""ASGI applications: pages for a person at this machine."""
