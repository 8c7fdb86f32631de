"""How clients reach us. Everything here only parses and renders; ``core`` decides."""
