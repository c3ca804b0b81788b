"""The REST API for people and for tools: OpenAPI 3.1 and a page to read, both made from the contract.

document.py     the whole document
operations.py   a method's path, verb, parameters, body and answers
schemas.py      a message as the JSON that protobuf prints it as
bounds.py       what fields' comments promise, as JSON Schema says it
words.py        comments of the contract, in REST's spelling
page.py         the document as a page of HTML
"""
