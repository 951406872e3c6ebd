"""The loops that keep the road going: index and match, assess, deliver. Each step is small, durable and may be repeated.

This is, beside the SCP's handlers, the only place with a broad `except`: what a step raises is logged by its type and place, never by its
text (which may hold what a peer sent), and the loop goes on.
"""
