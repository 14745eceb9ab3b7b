#pragma once

#include <boost/property_tree/ptree.hpp>
#include <boost/property_tree/xml_parser.hpp>

#include <sstream>
#include <string>

/// The element svg of a picture. Throws where the text is no well-formed XML.
inline boost::property_tree::ptree parsed(const std::string& svg) {
  std::istringstream stream{svg};
  boost::property_tree::ptree tree;
  read_xml(stream, tree);
  return tree.get_child("svg");
}
