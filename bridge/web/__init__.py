"""The browser view: one page, one port. `bridge.web.server:main` is the process."""
