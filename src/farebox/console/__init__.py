"""The control plane: dashboard, JSON API, sign-in, loading of usage. app.py puts it together."""
