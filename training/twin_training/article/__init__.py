"""The article's DCGAN, corrected, and with an encoder, so that it too can be a twin (docs/article.md)."""
