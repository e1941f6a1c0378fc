"""What code written for APF imports as ``apf``. Neither Django nor tom_alertstreams is needed here."""
