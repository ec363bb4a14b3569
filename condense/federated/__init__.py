"""Federations: clients with data of their own train one network together, and no image leaves a client.

`splits` gives each client its part of the data, `algorithms` holds the algorithms by name, `local` and
`virtual` their mathematics. `participant` is one client, `strategies` the server, and `simulation` runs both
on Flower (the extra ``federated``), which nothing else here imports.
"""
