"""The panel: the files of a page that browsers get, under ``static``. ``api/panel.py`` serves them."""
