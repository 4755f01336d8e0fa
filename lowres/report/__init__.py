"""Tables, curves and the page."""
