"""Steps as ALeRCE's groups have written them for the three generations of APF."""
