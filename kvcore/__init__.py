"""A key-value service in front of servers you already run, and the framework under it.

`import kvcore` imports nothing else: take what you need from its modules. What backends are written against is
`kvcore.backends`, `kvcore.model`, `kvcore.slots`, `kvcore.errors` and `kvcore.hookspecs`; their tests are
`kvcore.testing`.
"""

__version__ = "0.1.0"
__all__ = ("__version__",)
