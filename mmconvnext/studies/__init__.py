"""Studies beside the plugin, which imports none of them."""
