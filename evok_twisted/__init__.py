"""Inputs and outputs of Unipi PLCs, over WebSocket and HTTP."""
