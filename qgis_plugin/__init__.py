"""The QGIS side: provider, worker client, environment, styling and docks. Standard library and qgis only."""
