"""Consilience: how far neural networks agree in what they represent, and what makes them agree."""
