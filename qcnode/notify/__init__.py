"""People and programs are told of what happens: by rule, through channels, out of a durable outbox."""
