"""Where images come from (sources) and where labels come from (labelers)."""
