"""The datasets and policies that ship: real income data, a generated clinic, licences for the demo."""
