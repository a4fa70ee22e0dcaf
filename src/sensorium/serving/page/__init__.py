"""The web page: show pictures, ask, see the reply and its boxes; served at `/` beside the API, from one queue.

Gradio draws the page and carries its events. No request comes to it but through our gate, it fetches and reports
nothing, and browsers are told to load nothing from anywhere else. `mount` is where it begins.
"""
