"""From a measured learning curve to labels, hours, money and a date; and how well that held."""
