"""Hello: a small web application that shows what a deployment does."""
