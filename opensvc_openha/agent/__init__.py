"""The embedded agent: runs `.env` service files where no OpenSVC agent is installed."""
