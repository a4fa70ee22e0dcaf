"""Conversations about pictures: the dataset format, its checks and sheets, and the builders that write it."""
