"""Studies around the plugin; the plugin does not import them."""
