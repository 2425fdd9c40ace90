"""The whole production topology on one machine, by executables, in a folder that is thrown away: `python -m deploy.local`."""
