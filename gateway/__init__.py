"""The gateway: sign-in, accounts, and the app's view of films and backlog, composed."""
