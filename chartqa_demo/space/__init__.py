"""The Hub, ZeroGPU, deploying a Space, recorded answers, and what an operator watches.

Imports `engines`' protocol and `data`; nothing below imports it but for the Hub.
"""
