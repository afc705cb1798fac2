"""The collection: recordings that models, codec and gap are developed on, measured as a subscriber meets them."""
