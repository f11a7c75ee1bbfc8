"""How the bundled base model is made from nothing: charts with their answers, tokenizer, model, legs, exam, export.

Nobody needs to open it to use or change the app. Imports the words of the arms and the canvas of `images`, no more.
"""
