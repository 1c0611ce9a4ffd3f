"""Client of the LLaVA-Mini gRPC server.

    from llavamini import Client

    with Client("127.0.0.1:50051") as client:
        print(client.chat("What is this?", image="cat.jpg").text)
        for text in client.stream("Describe it.", image="cat.jpg", temperature=0.7, seed=1):
            print(text, end="", flush=True)
"""

import pkgutil

# The modules compiled from proto/ may lie in another folder of sys.path (client/python/generate.sh FOLDER).
__path__ = pkgutil.extend_path(__path__, __name__)

from llavamini.client import Answer, AnswerStream, Client, LlavaMiniError, Usage  # noqa: E402

__all__ = ["Answer", "AnswerStream", "Client", "LlavaMiniError", "Usage"]
