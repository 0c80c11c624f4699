"""Background tasks for Python web applications."""
