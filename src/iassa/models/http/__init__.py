"""What `iassa.EndpointAdapter` is made of: request forms, connection, pace, cache of scores."""
