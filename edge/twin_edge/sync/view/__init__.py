"""The subscriber's side: what follows twins and makes updates of their messages."""
