"""The rooms: who is in, what is in the deck, who swiped what, and the match. State lives in Redis."""
