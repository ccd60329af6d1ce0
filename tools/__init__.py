"""What stands between the notebooks and the rendered site: run, store, build, check."""
