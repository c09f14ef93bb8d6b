#pragma once

/// All of Tandem.

#include <tandem/array.hpp>
#include <tandem/commander_node.hpp>
#include <tandem/config.hpp>
#include <tandem/context.hpp>
#include <tandem/error.hpp>
#include <tandem/feeder_node.hpp>
#include <tandem/item.hpp>
#include <tandem/parameter.hpp>
#include <tandem/producer_node.hpp>
#include <tandem/runtime.hpp>
#include <tandem/sequencer_node.hpp>
#include <tandem/several.hpp>
#include <tandem/split_node.hpp>
#include <tandem/stream_node.hpp>
