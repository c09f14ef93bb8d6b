#include "line.hpp"

template class tandem::commander_node<tandem::test::Number>;
template class tandem::producer_node<tandem::test::Number, tandem::test::Number>;
template class tandem::producer_node<tandem::test::Number, tandem::Arrays>;
template class tandem::sequencer_node<tandem::test::Number>;
template class tandem::sequencer_node<tandem::Arrays>;
template class tandem::stream_node<tandem::test::Number>;
template class tandem::stream_node<tandem::Arrays>;
