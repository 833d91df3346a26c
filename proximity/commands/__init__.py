"""The ``proximity`` command's own files, one for each thing that is asked about."""
