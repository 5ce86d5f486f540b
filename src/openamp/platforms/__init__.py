"""Platforms: where remotes live. Found by name through `openamp.registry`; imported only when asked for."""
