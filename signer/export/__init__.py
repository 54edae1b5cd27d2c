"""The live export of the log's records: to a file or to syslog, each record in its order, none lost over a restart."""
