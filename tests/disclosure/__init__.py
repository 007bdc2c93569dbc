"""What tests of `aggregate` mode share: a town with secrets planted in it, and two judges that are not ours."""
