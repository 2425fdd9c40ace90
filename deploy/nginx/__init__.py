"""NGINX before kvcore: `python -m deploy.nginx` renders its configuration, for any number of nodes."""
