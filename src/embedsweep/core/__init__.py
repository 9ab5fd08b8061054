"""The domain: frozen values, pure rules and the ports, on the standard library and numpy types."""
