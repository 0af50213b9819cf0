"""What this checkout adds to the plugin: `pytester` for the plugin's own tests."""

pytest_plugins = ["pytester"]
