"""The drawings of a page: each a function from values to one SVG."""
